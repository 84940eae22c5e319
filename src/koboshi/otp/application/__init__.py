"""Programs made of applications: started by need, stopped in reverse, configured by one checked struct."""
