//! The load balancer's control plane.
