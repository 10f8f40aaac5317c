"""Pure statistics: change points, trends, rates and tails."""
