"""The view whose value is edited between reloads."""

from django.http import JsonResponse


def ping(request):
    return JsonResponse({"message": "test"})
