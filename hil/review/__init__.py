"""What a reviewer reads in the morning: findings, trends, comparisons, as static pages."""
