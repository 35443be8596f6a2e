/**
 * What the API rejects in any tool's `input_schema`, strict or not: keys with other characters, and what JSON Schema 2020-12 does
 * not allow, such as the forms of older dialects. Source: errors that others have reported in 2025 and 2026.
 */

import { isJsonObject } from './json.ts';

/** What the API accepts as a key of the input itself. */
export const PARAMETER_NAME = /^[a-zA-Z0-9_.-]{1,64}$/;
const TYPES_2020_12: readonly unknown[] = ['null', 'boolean', 'object', 'array', 'number', 'string', 'integer'];

const isStringValue = (value: unknown) => typeof value === 'string';
const isNumber = (value: unknown) => typeof value === 'number';
const isBoolean = (value: unknown) => typeof value === 'boolean';
const isWholeNumber = (value: unknown) => Number.isInteger(value) && Number(value) >= 0;
const isSchema = (value: unknown) => isJsonObject(value) || isBoolean(value);
const isSchemaList = (value: unknown) => Array.isArray(value) && value.length > 0 && value.every(isSchema);
const isSchemaRecord = (value: unknown) => isJsonObject(value) && Object.values(value).every(isSchema);
const isNameList = (value: unknown) =>
  Array.isArray(value) && value.every(isStringValue) && new Set(value).size === value.length;
const isJsonSchemaType = (value: unknown) => TYPES_2020_12.includes(value);

/** The values that JSON Schema 2020-12 allows for its keywords. Other keywords may have any value. */
const KEYWORDS_2020_12: Readonly<Record<string, (value: unknown) => boolean>> = {
  type: (value) =>
    isJsonSchemaType(value) ||
    (isNameList(value) && (value as unknown[]).length > 0 && (value as unknown[]).every(isJsonSchemaType)),
  enum: Array.isArray,
  required: isNameList,
  ...Object.fromEntries(['maximum', 'minimum', 'exclusiveMaximum', 'exclusiveMinimum'].map((name) => [name, isNumber])),
  multipleOf: (value) => isNumber(value) && Number(value) > 0,
  ...Object.fromEntries(
    [
      'maxLength',
      'minLength',
      'maxItems',
      'minItems',
      'maxProperties',
      'minProperties',
      'maxContains',
      'minContains',
    ].map((name) => [name, isWholeNumber]),
  ),
  ...Object.fromEntries(
    ['pattern', 'format', 'title', 'description', '$ref', '$id'].map((name) => [name, isStringValue]),
  ),
  ...Object.fromEntries(['uniqueItems', 'deprecated', 'readOnly', 'writeOnly'].map((name) => [name, isBoolean])),
  examples: Array.isArray,
};
const WITH_SCHEMA = [
  'items',
  'contains',
  'additionalProperties',
  'propertyNames',
  'not',
  'if',
  'then',
  'else',
  'unevaluatedItems',
  'unevaluatedProperties',
];
const WITH_SCHEMAS = ['prefixItems', 'anyOf', 'oneOf', 'allOf'];
const WITH_NAMED_SCHEMAS = ['properties', 'patternProperties', 'dependentSchemas', '$defs', 'definitions'];

/** The SDK's type of `input_schema` allows null here. */
const NULLABLE_AT_TOP = ['properties', 'required'];

/** A part of a schema that the API rejects. */
export interface ToolSchemaFault {
  /** A key of the input with other characters, or the path of a keyword whose value is not valid. */
  kind: 'key' | 'keyword';
  at: string;
}

/** @returns the first part that the API rejects; undefined for a schema that it accepts */
export function findToolSchemaFault(schema: Readonly<Record<string, unknown>>): ToolSchemaFault | undefined {
  const { properties } = schema;
  const key = isJsonObject(properties) ? Object.keys(properties).find((name) => !PARAMETER_NAME.test(name)) : undefined;
  if (key !== undefined) return { kind: 'key', at: key };
  const open: { one: unknown; path: string }[] = [{ one: schema, path: '' }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { one, path } = next;
    if (!isJsonObject(one)) continue;
    for (const [name, value] of Object.entries(one)) {
      const at = path === '' ? name : `${path}.${name}`;
      if (path === '' && value === null && NULLABLE_AT_TOP.includes(name)) continue;
      if (!isKeywordAllowed(name, value)) return { kind: 'keyword', at };
      if (WITH_SCHEMA.includes(name)) open.push({ one: value, path: at });
      else if (WITH_SCHEMAS.includes(name) || WITH_NAMED_SCHEMAS.includes(name))
        for (const [key, inner] of Object.entries(value as object)) open.push({ one: inner, path: `${at}.${key}` });
    }
  }
  return undefined;
}

function isKeywordAllowed(name: string, value: unknown): boolean {
  if (Object.hasOwn(KEYWORDS_2020_12, name)) return KEYWORDS_2020_12[name]?.(value) ?? true;
  if (WITH_SCHEMA.includes(name)) return isSchema(value);
  if (WITH_SCHEMAS.includes(name)) return isSchemaList(value);
  return !WITH_NAMED_SCHEMAS.includes(name) || isSchemaRecord(value);
}

const DIALECT_FAULT =
  'JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12). Learn more about tool use at https://docs.claude.com/en/docs/tool-use.';

/** @returns a fault in the API's words, behind the path of the schema */
export function describeToolSchemaFault({ kind }: ToolSchemaFault): string {
  return kind === 'key'
    ? `.properties: Property keys should match pattern '${PARAMETER_NAME.source}'`
    : `: ${DIALECT_FAULT}`;
}
