"""Evidence for reviewers: what goes into Allure, and the report made of it. The only place that knows Allure."""
