"""The report as one page of HTML, and a page of the images that stays in the report's folder."""

IMAGES = "images.html"
