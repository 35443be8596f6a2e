/** A value as `JSON.parse` makes it. */
export type Json = null | boolean | number | string | Json[] | JsonObject;

/** An object as `JSON.parse` makes it; a key that it does not have reads as undefined. */
export type JsonObject = { [key: string]: Json };

/** Checks whether a value is a JSON object: not null, not a list. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Reads a property whose name comes from outside; undefined if it is absent or only inherited. */
export function readOwnMember(object: JsonObject, name: string): Json | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

/** Writes a value as text: a string as it is, anything else as its JSON. `String` throws for an object with a member `toString`. */
export function jsonToText(value: Json | undefined): string {
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined');
}

/** Picks the objects of a list; nothing of anything else. */
export function filterObjects(value: Json | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

/** Picks the strings of a list; nothing of anything else. */
export function filterStrings(value: Json | undefined): string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : [];
}

/**
 * Checks whether a parsed value is nested at most `limit` levels deep. It uses no recursion. Functions that recurse over a
 * request, including `JSON.stringify`, may be called only after this check.
 */
export function isNestedWithinLimit(value: Json, limit: number): boolean {
  let level: Json[] = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limit) return false;
    const next: Json[] = [];
    for (const entry of level) {
      if (typeof entry !== 'object' || entry === null) continue;
      for (const child of Array.isArray(entry) ? entry : Object.values(entry)) {
        if (typeof child === 'object' && child !== null) next.push(child);
      }
    }
    level = next;
  }
  return true;
}
