"""What runs beside a shop's data: private training and local recommending."""
