import os


def handler(event):
    found = []
    for folder in ("/", "/app", "/usr", "/etc", "/tmp", "/dev", "/proc"):
        try:
            with open(os.path.join(folder, "written"), "w") as file:
                file.write("x")
            found.append(folder)
        except OSError:
            pass
    return found
