"""Attach evidence to Allure results, and make reports of them. The only package that imports Allure."""
