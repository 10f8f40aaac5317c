"""Digital signals: captures, edges, and the series that they give."""
