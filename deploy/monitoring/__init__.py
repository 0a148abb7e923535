"""Monitoring: the Grafana dashboard and Prometheus alerts."""
