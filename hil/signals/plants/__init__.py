"""Small plants for tests of controllers, and examples of how a plant is written."""
