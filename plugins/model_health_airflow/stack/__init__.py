"""A whole deployment from docker-compose.yaml without Docker: the same services as processes of one machine."""
