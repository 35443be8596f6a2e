import {
  filterObjects,
  filterStrings,
  isJsonObject,
  type Json,
  type JsonObject,
  readOwnMember,
} from '../../api-rules/json.ts';

// A plain form of a JSON schema has no references, `allOf`, `anyOf` or `oneOf`: references are followed, all parts of an
// `allOf` merged, and one branch of each alternative taken. A value of a plain form satisfies the schema.

/** More forms than this are not tried: nested alternatives multiply. */
const MAX_FORMS = 16;

/** Follows a `$ref` within the same document; undefined if it points nowhere. */
export function resolveSchemaReference(reference: string, root: JsonObject): Json | undefined {
  if (!reference.startsWith('#')) return undefined;
  let target: Json | undefined = root;
  for (const part of reference.slice(1).split('/').slice(1)) {
    const key = decodePointerSegment(part);
    if (Array.isArray(target)) target = target[Number(key)];
    else target = isJsonObject(target) ? readOwnMember(target, key) : undefined;
  }
  return target;
}

function decodePointerSegment(part: string): string {
  let text = part;
  try {
    text = decodeURIComponent(part);
  } catch {
    // A `%` that begins no valid escape stands for itself.
  }
  return text.replaceAll('~1', '/').replaceAll('~0', '~');
}

/** Reads a keyword that is a number; undefined for an absent one and another type. */
export function readNumberKeyword(schema: JsonObject, keyword: string): number | undefined {
  const value = readOwnMember(schema, keyword);
  return typeof value === 'number' ? value : undefined;
}

/** Reads the types that a schema names, else those that its other keywords are for; empty where any type fits. */
export function listSchemaTypes(schema: JsonObject): string[] {
  const type = schema.type;
  if (typeof type === 'string') return [type];
  if (Array.isArray(type)) return filterStrings(type);
  const hasAnyKeyword = (...keys: string[]): boolean => keys.some((key) => Object.hasOwn(schema, key));
  if (hasAnyKeyword('properties', 'required', 'additionalProperties', 'patternProperties', 'minProperties'))
    return ['object'];
  if (hasAnyKeyword('items', 'prefixItems', 'minItems', 'maxItems', 'contains', 'uniqueItems')) return ['array'];
  if (hasAnyKeyword('minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf')) return ['number'];
  if (hasAnyKeyword('pattern', 'format', 'minLength', 'maxLength')) return ['string'];
  return [];
}

function intersectSchemaTypes(a: JsonObject, b: JsonObject): string[] | undefined {
  if (a.type === undefined || b.type === undefined) return undefined;
  const [first, second] = [listSchemaTypes(a), listSchemaTypes(b)];
  const isTypeIncluded = (type: string, types: string[]): boolean =>
    types.includes(type) || (type === 'integer' && types.includes('number'));
  return [
    ...new Set([
      ...first.filter((type) => isTypeIncluded(type, second)),
      ...second.filter((type) => isTypeIncluded(type, first)),
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

function mergeSchemaProperties(a: JsonObject, b: JsonObject): JsonObject {
  const merged = new Map(Object.entries(a));
  for (const [name, schema] of Object.entries(b)) {
    const first = merged.get(name);
    merged.set(name, first === undefined || isSameJson(first, schema) ? schema : { allOf: [first, schema] });
  }
  return Object.fromEntries(merged);
}

function mergeSchemaKeyword(key: string, a: Json, b: Json): Json {
  if (isSameJson(a, b)) return a;
  if (typeof a === 'number' && typeof b === 'number') {
    if (LOWER_BOUNDS.has(key)) return Math.max(a, b);
    if (UPPER_BOUNDS.has(key)) return Math.min(a, b);
    if (key === 'multipleOf' && a > 0 && b > 0) return leastCommonMultiple(a, b);
  }
  if (key === 'required') return [...new Set([...filterStrings(a), ...filterStrings(b)])];
  if (key === 'enum' && Array.isArray(a) && Array.isArray(b)) {
    return a.filter((entry) => b.some((other) => isSameJson(entry, other)));
  }
  if (isJsonObject(a) && isJsonObject(b)) {
    if (key === 'properties' || key === 'patternProperties') return mergeSchemaProperties(a, b);
    if (key === 'items' || key === 'additionalProperties' || key === 'contains') return { allOf: [a, b] };
  }
  if (key === 'additionalProperties' || key === 'items') return a === false || b === false ? false : a === true ? b : a;
  if (key === 'uniqueItems') return true;
  return b;
}

/** Merges two plain forms into one whose values satisfy both. */
function mergePlainSchemas(a: JsonObject, b: JsonObject): JsonObject {
  const merged = new Map(Object.entries(a));
  for (const [key, value] of Object.entries(b)) {
    const first = merged.get(key);
    merged.set(key, first === undefined ? value : mergeSchemaKeyword(key, first, value));
  }
  const types = intersectSchemaTypes(a, b);
  if (types !== undefined) merged.set('type', types);
  return Object.fromEntries(merged);
}

function combineSchemaForms(first: JsonObject[], second: JsonObject[]): JsonObject[] {
  const forms = first.flatMap((a) => second.map((b) => mergePlainSchemas(a, b)));
  return forms.slice(0, MAX_FORMS);
}

export interface SchemaSearchBudget {
  /** The document that references point into. */
  root: JsonObject;
  /** The steps that are left: with references, a short schema can ask for more work than there is time. */
  remainingSteps: number;
}

/**
 * Makes the plain forms of a schema, the branches of alternatives in the order that `prefer` gives them. There are none
 * for `false`, for circular references, and once no steps are left.
 */
export function expandToPlainSchemas(
  schema: Json,
  search: SchemaSearchBudget,
  prefer: (branches: JsonObject[]) => JsonObject[],
  depth = 0,
): JsonObject[] {
  if (schema === true) return [{}];
  if (!isJsonObject(schema) || depth > 32 || search.remainingSteps-- <= 0) return [];
  const { $ref, allOf, anyOf, oneOf, if: condition, then, ...own } = schema;
  const expandNestedSchema = (value: Json): JsonObject[] => expandToPlainSchemas(value, search, prefer, depth + 1);
  let forms: JsonObject[] = [own];
  if (typeof $ref === 'string')
    forms = combineSchemaForms(forms, expandNestedSchema(resolveSchemaReference($ref, search.root) ?? true));
  for (const part of Array.isArray(allOf) ? allOf : []) forms = combineSchemaForms(forms, expandNestedSchema(part));
  for (const branches of [anyOf, oneOf]) {
    if (!Array.isArray(branches)) continue;
    const expanded = filterObjects(branches).flatMap(expandNestedSchema);
    const open = branches.includes(true) ? [{}] : [];
    forms = combineSchemaForms(forms, [...prefer(expanded), ...open]);
  }
  // If a value satisfies `if` and `then`, it satisfies the whole condition, so combine the forms of both.
  if (condition !== undefined)
    forms = combineSchemaForms(
      combineSchemaForms(forms, expandNestedSchema(condition)),
      expandNestedSchema(then ?? true),
    );
  return forms;
}
