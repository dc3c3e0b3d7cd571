# In a file of its own: the demonstration takes it away where it shows what the whole policies deny.
module "lake" {
  conditions = false # moto overlooks a policy's conditions: such a denial would deny everything
}
