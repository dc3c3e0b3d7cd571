"""The platform on AWS: the handlers of its Lambda functions."""
