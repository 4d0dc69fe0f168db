"""Files with something wrong in them, made by the thousand, and what must become of whoever reads them."""
