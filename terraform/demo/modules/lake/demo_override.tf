module "artefacts" {
  conditions = false # moto ignores conditions: "TLS only" would deny every download of the bundle
}
