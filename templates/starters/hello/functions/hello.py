"""A function: `handler` is called once for each request and returns the answer."""


def handler(event):
    """Greets whoever is named: /?name=Ada, or `clowdy invoke hello '{"name": "Ada"}'`."""
    given = event.get("query", event)
    name = given.get("name", "world")
    # A dict, a list, a number: anything that JSON can hold is the answer, with status 200. What is printed goes to
    # `clowdy logs`, never into the answer.
    print("greeting", name)
    return {"message": f"Hello, {name}!"}
