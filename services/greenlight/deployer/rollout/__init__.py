"""Whether a rollout is complete, as the cluster's objects say."""
