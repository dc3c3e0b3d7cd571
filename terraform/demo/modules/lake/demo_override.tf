module "artefacts" {
  conditions = false # moto overlooks conditions: with "TLS only" it would hand the bundle to nobody
}
