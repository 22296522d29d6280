"""Django imports this module at the first request, not at the start: broken code here is found by asking."""

from django.urls import path

from demo import views

urlpatterns = [path("ping", views.ping)]
