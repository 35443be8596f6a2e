import type { JsonObject } from '#edge/kit/json/object.ts';

/** A schema as Pydantic 2 generates it: each enum is a separate definition. */
const PYDANTIC = {
  $defs: {
    Category: { enum: ['billing', 'bug', 'other'], title: 'Category', type: 'string' },
    Priority: { enum: ['low', 'high'], title: 'Priority', type: 'string' },
  },
  properties: {
    priority: { $ref: '#/$defs/Priority' },
    category: { anyOf: [{ $ref: '#/$defs/Category' }, { type: 'null' }], default: null },
    requires_human: { title: 'Requires Human', type: 'boolean' },
  },
  required: ['priority', 'requires_human'],
  title: 'Ticket',
  type: 'object',
};

type FirstSchema = 'two enums and a boolean' | 'two enums and a text, nothing required' | 'a model of Pydantic';

/** Schemas that people write first, an object that follows each, and the property that is its label. */
export const FIRST_SCHEMAS: Readonly<
  Record<FirstSchema, { schema: JsonObject; output: JsonObject; property: string }>
> = {
  'two enums and a boolean': {
    schema: {
      type: 'object',
      properties: {
        priority: { type: 'string', enum: ['low', 'medium', 'high'] },
        category: { type: 'string', enum: ['billing', 'bug', 'other'] },
        requires_human: { type: 'boolean' },
      },
      required: ['priority', 'category', 'requires_human'],
    },
    output: { priority: 'high', category: 'billing', requires_human: true },
    property: 'category',
  },
  'two enums and a text, nothing required': {
    schema: {
      type: 'object',
      properties: {
        category: { enum: ['billing', 'bug', 'other'] },
        urgency: { enum: ['now', 'later'] },
        summary: { type: 'string', minLength: 1 },
      },
    },
    output: { category: 'bug', urgency: 'now', summary: 'It crashes.' },
    property: 'category',
  },
  'a model of Pydantic': {
    schema: PYDANTIC,
    output: { priority: 'low', category: 'bug', requires_human: false },
    property: 'category',
  },
};
