"""Pictures of series and of figures over nights, as SVG text."""
