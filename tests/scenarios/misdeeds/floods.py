def handler(event):
    for _ in range(200000):
        print("x" * 100)
    return "flooded"
