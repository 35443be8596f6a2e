/**
 * Brings a classifier, its labels and how to choose between them, into the one form that is stored, compared and sent.
 */

import { MOST_OPTIONAL, optionalMembers } from '../../claude/request/refused-schemas.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { faultInSchema } from '../../kit/json/json-schema.ts';
import { isObject, type Json, withoutUndefined } from '../../kit/json/object.ts';
import type { StoredKind } from '../../named/versions/find-stored.ts';
import type { ClassifierFields, Label } from '../classifiers.schema.ts';
import { checkedLabels } from './labels.ts';

/** A classifier as it is stored: its `schema` has become labels and fields. */
export interface Classifier extends Omit<ClassifierFields, 'schema' | 'fields'> {
  labels: Label[];
  multi: boolean;
  allow_none: boolean;
  /** A JSON schema of an object. */
  fields?: Json;
}

const MOST_LABELS = 500;
const LONGEST_LABEL = 256;
/** The API takes too long to compile a grammar from a longer schema. */
const MOST_SCHEMA_CHARACTERS = 32_768;
/** What a schema with labels is. */
const LABEL_RULE =
  'it should be an enum of strings, or an object with a property that is one (`label`, or the only one), or with `labels`, an array of one.';

/**
 * Brings what was sent into the form that is stored: labels are objects, and a `schema` becomes labels and fields.
 *
 * @throws ApiError 400 that names the fault, if it cannot be a classifier
 */
export function classifierOf(members: ClassifierFields): Classifier {
  if ((members.labels === undefined) === (members.schema === undefined)) {
    throw invalidRequest('Send `labels`, or a `schema` that has them as an enum: one of them.');
  }
  if (members.schema && (members.multi ?? members.allow_none ?? members.fields) !== undefined) {
    throw invalidRequest('schema: it says by itself what `multi`, `allow_none` and `fields` would. Leave them out.');
  }
  const parts: Pick<Classifier, 'labels' | 'multi' | 'allow_none' | 'fields'> = members.schema
    ? partsOf(checkedSchema(members.schema, 'schema'))
    : {
        labels: (members.labels ?? []).map((label) => (typeof label === 'string' ? { name: label } : label)),
        multi: members.multi ?? false,
        allow_none: members.allow_none ?? false,
        ...(members.fields === undefined ? {} : { fields: checkedSchema(members.fields, 'fields') }),
      };
  if (parts.fields && (parts.fields.type !== 'object' || !isObject(parts.fields.properties))) {
    throw invalidRequest('fields: Input should be a JSON schema of an object, with its properties.');
  }
  const optional = parts.fields ? optionalMembers(parts.fields) : 0;
  if (optional > MOST_OPTIONAL) {
    throw invalidRequest(
      `${members.schema ? 'schema' : 'fields'}: ${optional} of its members are optional, and Claude takes ${MOST_OPTIONAL} at the most. List the others in \`required\`; a type may be \`["string", "null"]\`.`,
    );
  }
  const names = parts.labels.map(({ name }) => name);
  const repeated = names.find((name, index) => names.indexOf(name) !== index);
  if (names.length > MOST_LABELS || names.some((name) => name.length > LONGEST_LABEL)) {
    throw invalidRequest(`schema: it has ${MOST_LABELS} labels of ${LONGEST_LABEL} characters at the most.`);
  }
  if (repeated !== undefined) throw invalidRequest(`labels: ${JSON.stringify(repeated)} stands there twice.`);
  for (const [index, example] of (members.examples ?? []).entries()) {
    const path = `examples.${index}`;
    checkedLabels(example, path, parts, 'this classifier');
    if (example.fields && !parts.fields) throw invalidRequest(`${path}.fields: this classifier extracts none.`);
  }
  const { labels, multi, allow_none, fields } = parts;
  const { instructions, examples, model, votes, cache_seconds, description } = members;
  return {
    labels: labels.map(({ name, description, examples }) => withoutUndefined({ name, description, examples }) as Label),
    multi,
    allow_none,
    ...withoutUndefined({ instructions, examples, fields, model, votes, cache_seconds, description }),
  };
}

export function readClassifier(text: string): Classifier {
  return JSON.parse(text) as Classifier;
}

function checkedSchema(schema: Json, path: string): Json {
  const fault = faultInSchema(schema);
  if (fault) throw invalidRequest(`${path}: ${fault}.`);
  if (JSON.stringify(schema).length > MOST_SCHEMA_CHARACTERS) {
    throw invalidRequest(`${path}: a schema has ${MOST_SCHEMA_CHARACTERS} characters at the most.`);
  }
  return schema;
}

/** Reads the labels out of a schema that has them as an enum. Its other properties become fields. */
function partsOf(schema: Json): Pick<Classifier, 'labels' | 'multi' | 'allow_none' | 'fields'> {
  const choices = choicesOf(schema);
  if (choices) return { ...choices, multi: false };
  const properties = isObject(schema.properties) ? schema.properties : {};
  const items = isObject(properties.labels) ? properties.labels : undefined;
  const many = items?.type === 'array' ? choicesOf(items.items) : undefined;
  const enums = Object.keys(properties).filter((name) => choicesOf(properties[name]));
  const name = enums.includes('label') ? 'label' : many || enums.length !== 1 ? undefined : enums[0];
  if ((name === undefined) === (many === undefined)) throw invalidRequest(`schema: ${LABEL_RULE}`);
  const { [name ?? 'labels']: label, ...others } = properties;
  const one = many ? undefined : choicesOf(label);
  const required = ((schema.required as string[] | undefined) ?? []).filter((name) => Object.hasOwn(others, name));
  const fields =
    Object.keys(others).length === 0
      ? {}
      : { fields: { type: 'object', properties: others, ...(required.length > 0 ? { required } : {}) } };
  if (one) return { ...one, multi: false, ...fields };
  const none = !(Number(items?.minItems ?? 0) >= 1);
  return { labels: many?.labels ?? [], multi: true, allow_none: none, ...fields };
}

/** @returns the labels of an enum of strings, or of alternatives of one string each; null among them means no label */
function choicesOf(schema: unknown): Pick<Classifier, 'labels' | 'allow_none'> | undefined {
  if (!isObject(schema)) return undefined;
  const branches = schema.anyOf ?? schema.oneOf;
  const choices: Json[] = Array.isArray(schema.enum)
    ? schema.enum.map((value: unknown) => ({ const: value }))
    : Array.isArray(branches)
      ? (branches as Json[]).map((branch) => (branch.type === 'null' ? { const: null } : branch))
      : [];
  if (choices.length === 0) return undefined;
  const labels: Label[] = [];
  for (const { const: name, description } of choices) {
    if (name === null) continue;
    if (typeof name !== 'string' || name.trim() !== name || name === '') return undefined;
    labels.push(typeof description === 'string' ? { name, description } : { name });
  }
  return labels.length === 0 ? undefined : { labels, allow_none: labels.length < choices.length };
}

export const CLASSIFIERS: StoredKind<Classifier, '/classifiers'> = {
  kind: 'classifier',
  path: '/classifiers',
  memoryBytes: 8 * 1024 * 1024,
  read: (bytes) => readClassifier(new TextDecoder().decode(bytes)),
  // An estimate: strings have at most two bytes a character, and objects need as much again.
  memorySize: (_, bytes) => bytes * 4,
};
