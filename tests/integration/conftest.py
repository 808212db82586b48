"""Fixtures that several integration tests use."""

from tests.integration.postgresqlserver import empty_database, postgresql

__all__ = ["empty_database", "postgresql"]
