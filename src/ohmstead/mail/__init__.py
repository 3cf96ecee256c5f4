"""Mail that goes out: written with the change that causes it, delivered by a job."""
