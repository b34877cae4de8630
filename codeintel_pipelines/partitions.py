"""Partitions: one per registered repository, one per day of traces."""

from dagster import DailyPartitionsDefinition, DynamicPartitionsDefinition

repositories = DynamicPartitionsDefinition(name="repository")
days = DailyPartitionsDefinition(start_date="2026-01-01", end_offset=1)
