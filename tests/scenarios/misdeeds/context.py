def handler(event, context):
    return {
        "name": context.function_name,
        "version": context["function_version"],
        "project": context.project,
        "release": context.release,
        "request_id": context.request_id,
        "runtime": context.runtime,
        "trigger": context.trigger,
        "remaining": context.remaining_ms(),
    }
