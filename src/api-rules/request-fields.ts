import { FIELD_BETAS } from './field-betas.ts';
import type { FieldRules, TypeTable } from './field-types.ts';
import { REQUEST_TYPES } from './request-types.ts';

/**
 * Fields that the API accepts and the SDK's types do not have. Sources: version 2023-06-01 of the API for sampling, recorded
 * requests of Claude Code for the others (test/fixtures/claude-code).
 */
const OTHER_FIELDS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  MessageCreateParams: {
    safeguards: '[any]',
    temperature: 'number|null',
    top_k: 'integer|null',
    top_p: 'number|null',
  },
  CacheControlEphemeral: { scope: 'string' },
};

function addFields(types: TypeTable): TypeTable {
  const added = Object.entries(OTHER_FIELDS).map(([name, fields]) => {
    const own = types[name];
    return [name, typeof own === 'object' ? { ...own, ...fields } : fields];
  });
  return { ...types, ...Object.fromEntries(added) };
}

/** The rules with which the bodies of messages and token counts are compared. */
export const REQUEST_FIELDS: FieldRules = { types: addFields(REQUEST_TYPES), betas: FIELD_BETAS };
