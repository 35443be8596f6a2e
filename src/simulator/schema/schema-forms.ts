import { isObject, type Json, type JsonObject, objectItemsOf, readMember, stringItemsOf } from '../request/json.ts';

// A plain form of a JSON schema has no references, `allOf`, `anyOf` or `oneOf`: references are followed, all parts of an
// `allOf` merged, and one branch of each alternative taken. A value of a plain form satisfies the schema.

/** More forms than this are not tried: nested alternatives multiply. */
const MAX_FORMS = 16;

/** Follows a `$ref` within the same document; undefined if it points nowhere. */
export function resolveReference(reference: string, root: JsonObject): Json | undefined {
  if (!reference.startsWith('#')) return undefined;
  let target: Json | undefined = root;
  for (const part of reference.slice(1).split('/').slice(1)) {
    const key = decodePointer(part);
    if (Array.isArray(target)) target = target[Number(key)];
    else target = isObject(target) ? readMember(target, key) : undefined;
  }
  return target;
}

function decodePointer(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // A stray percent sign means itself.
  }
  return text.replaceAll('~1', '/').replaceAll('~0', '~');
}

/** Reads a keyword that is a number; undefined for an absent one and another type. */
export function numberKeywordOf(schema: JsonObject, keyword: string): number | undefined {
  const value = readMember(schema, keyword);
  return typeof value === 'number' ? value : undefined;
}

/** Reads the types that a schema names, else those that its other keywords are for; empty where any type fits. */
export function typesOf(schema: JsonObject): string[] {
  const type = schema.type;
  if (typeof type === 'string') return [type];
  if (Array.isArray(type)) return stringItemsOf(type);
  const has = (...keys: string[]): boolean => keys.some((key) => Object.hasOwn(schema, key));
  if (has('properties', 'required', 'additionalProperties', 'patternProperties', 'minProperties')) return ['object'];
  if (has('items', 'prefixItems', 'minItems', 'maxItems', 'contains', 'uniqueItems')) return ['array'];
  if (has('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf')) return ['number'];
  if (has('pattern', 'format', 'minLength', 'maxLength')) return ['string'];
  return [];
}

function intersectTypes(a: JsonObject, b: JsonObject): string[] | undefined {
  if (a.type === undefined || b.type === undefined) return undefined;
  const [first, second] = [typesOf(a), typesOf(b)];
  const isAmongTypes = (type: string, types: string[]): boolean =>
    types.includes(type) || (type === 'integer' && types.includes('number'));
  return [
    ...new Set([
      ...first.filter((type) => isAmongTypes(type, second)),
      ...second.filter((type) => isAmongTypes(type, first)),
    ]),
  ];
}

function isSameJson(a: Json, b: Json): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

function leastCommonMultiple(a: number, b: number): number {
  for (let times = 1; times <= 1000; times++) {
    const multiple = a * times;
    if (Math.abs(multiple / b - Math.round(multiple / b)) < 1e-9) return multiple;
  }
  return a;
}

const LOWER_BOUNDS = new Set(['minimum', 'exclusiveMinimum', 'minLength', 'minItems', 'minProperties', 'minContains']);
const UPPER_BOUNDS = new Set(['maximum', 'exclusiveMaximum', 'maxLength', 'maxItems', 'maxProperties', 'maxContains']);

function mergeProperties(a: JsonObject, b: JsonObject): JsonObject {
  const merged = new Map(Object.entries(a));
  for (const [name, schema] of Object.entries(b)) {
    const first = merged.get(name);
    merged.set(name, first === undefined || isSameJson(first, schema) ? schema : { allOf: [first, schema] });
  }
  return Object.fromEntries(merged);
}

function mergeKeyword(key: string, a: Json, b: Json): Json {
  if (isSameJson(a, b)) return a;
  if (typeof a === 'number' && typeof b === 'number') {
    if (LOWER_BOUNDS.has(key)) return Math.max(a, b);
    if (UPPER_BOUNDS.has(key)) return Math.min(a, b);
    if (key === 'multipleOf' && a > 0 && b > 0) return leastCommonMultiple(a, b);
  }
  if (key === 'required') return [...new Set([...stringItemsOf(a), ...stringItemsOf(b)])];
  if (key === 'enum' && Array.isArray(a) && Array.isArray(b)) {
    return a.filter((entry) => b.some((other) => isSameJson(entry, other)));
  }
  if (isObject(a) && isObject(b)) {
    if (key === 'properties' || key === 'patternProperties') return mergeProperties(a, b);
    if (key === 'items' || key === 'additionalProperties' || key === 'contains') return { allOf: [a, b] };
  }
  if (key === 'additionalProperties' || key === 'items') return a === false || b === false ? false : a === true ? b : a;
  if (key === 'uniqueItems') return true;
  return b;
}

/** Merges two plain forms into one whose values satisfy both. */
function merge(a: JsonObject, b: JsonObject): JsonObject {
  const merged = new Map(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const first = merged.get(key);
    merged.set(key, first === undefined ? value : mergeKeyword(key, first, value));
  }
  const types = intersectTypes(a, b);
  if (types !== undefined) merged.set('type', types);
  return Object.fromEntries(merged);
}

function mergeForms(first: JsonObject[], second: JsonObject[]): JsonObject[] {
  const forms = first.flatMap((a) => second.map((b) => merge(a, b)));
  return forms.slice(0, MAX_FORMS);
}

export interface SchemaSearch {
  /** The document that references point into. */
  root: JsonObject;
  /** The steps that are left: with references, a short schema can ask for more work than there is time. */
  remainingSteps: number;
}

/**
 * Makes the plain forms of a schema, the branches of alternatives in the order that `prefer` gives them. There are none
 * for `false`, for circular references, and once no steps are left.
 */
export function expandToPlainForms(
  schema: Json,
  search: SchemaSearch,
  prefer: (branches: JsonObject[]) => JsonObject[],
  depth = 0,
): JsonObject[] {
  if (schema === true) return [{}];
  if (!isObject(schema) || depth > 32 || search.remainingSteps-- <= 0) return [];
  const { $ref, allOf, anyOf, oneOf, if: condition, then, ...own } = schema;
  const expandNested = (value: Json): JsonObject[] => expandToPlainForms(value, search, prefer, depth + 1);
  let forms: JsonObject[] = [own];
  if (typeof $ref === 'string') forms = mergeForms(forms, expandNested(resolveReference($ref, search.root) ?? true));
  for (const part of Array.isArray(allOf) ? allOf : []) forms = mergeForms(forms, expandNested(part));
  for (const branches of [anyOf, oneOf]) {
    if (!Array.isArray(branches)) continue;
    const expanded = objectItemsOf(branches).flatMap(expandNested);
    const open = branches.includes(true) ? [{}] : [];
    forms = mergeForms(forms, [...prefer(expanded), ...open]);
  }
  // What satisfies the condition and its consequence satisfies the whole.
  if (condition !== undefined)
    forms = mergeForms(mergeForms(forms, expandNested(condition)), expandNested(then ?? true));
  return forms;
}
