"""x"""

from django.http import HttpRequest, HttpResponse


def top_up(request: HttpRequest) -> HttpResponse:
    return HttpResponse("")
