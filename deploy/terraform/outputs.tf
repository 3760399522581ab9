output "url" {
  description = "Where the servers are reached, once they are."
  value       = var.serve ? "https://${local.host}" : null
}

output "gateway_subscription" {
  description = "What the devices' gateway reads orders from, as the account heatfleet-gateway."
  value       = google_pubsub_subscription.gateway.id
}

output "store" {
  description = "HEATFLEET_STORE, for `heatfleet doctor` and `heatfleet report` elsewhere."
  value       = local.store
}

output "database" {
  description = "What `cloud-sql-proxy` connects to, to make the first key."
  value       = google_sql_database_instance.heatfleet.connection_name
}
