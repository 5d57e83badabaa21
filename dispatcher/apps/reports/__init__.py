"""What happened, told: one person's messages, one campaign, a tenant's day. Read-only."""
