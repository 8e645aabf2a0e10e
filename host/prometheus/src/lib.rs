//! Prometheus remote write and read: protocol, tenants, limits, routing to storage plugins.
