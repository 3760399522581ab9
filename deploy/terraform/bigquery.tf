# The dataset alone: its tables are made by the job heatfleet-init, which runs `heatfleet cloud init` of the very image
# that is served. Two who own one schema would undo each other's work at the first update.
resource "google_bigquery_dataset" "heatfleet" {
  dataset_id                 = var.dataset
  location                   = var.location
  description                = "Readings and figures of heaters. Tables are made by `heatfleet cloud init`."
  delete_contents_on_destroy = false
  depends_on                 = [google_project_service.apis]
}
