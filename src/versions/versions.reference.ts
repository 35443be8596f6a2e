import { pageSchema } from '../http/page.ts';
import * as z from '../http/zod.ts';
import type { Scope } from '../identity/identity.ts';
import { jsonAnswer, namedList, pageAnswer } from '../reference/answers.ts';
import type { ErrorStatus } from '../reference/errors.ts';
import type { Answer, Route } from '../reference/resource.ts';
import { nameRow, versionRow } from './versions-answers.schema.ts';

/** The lists of stored things, the same for every kind. */
const nameList = namedList('NameList', z.withMeta(nameRow, { id: 'Name' }));
const versionList = namedList('VersionList', z.withMeta(versionRow, { id: 'Version' }));
const storedAt = '2026-11-20T10:06:16.310Z';

interface StoredReference {
  kind: 'prefix' | 'classifier' | 'agent';
  /** The kind's name in operations and schemas: `Prefix`. */
  title: string;
  plural: 'prefixes' | 'classifiers' | 'agents';
  /** The scope for reading. */
  needs: Scope;
  /** A stored version, as lists show it. */
  example: { name: string; version: string; description: string | null; bytes: number };
  put: {
    schemas: { fields: z.ZodMiniType; pointer: z.ZodMiniType };
    example: unknown;
    answer: Answer;
    errors: readonly ErrorStatus[];
  };
  /** The answer to a read: the whole content of a version. */
  content: { schema: z.ZodMiniType; example: unknown };
  deleted: z.ZodMiniType;
  remove: { summary: string; description?: string };
}

/** Describes the routes that every kind stored in versions has. */
export function storedRoutes(stored: StoredReference): Record<string, Route> {
  const { kind, title, plural, needs, put, content, deleted, remove } = stored;
  const { name, version, description, bytes } = stored.example;
  const shared = { version, description, bytes, created_at: storedAt };
  const row = { type: kind, name, owner: 'account', updated_at: storedAt, ...shared };
  const versionExample = { type: `${kind}_version`, current: true, ...shared };
  const fields = z.withMeta(put.schemas.fields, { id: `${title}Fields` });
  const pointer = z.withMeta(put.schemas.pointer, { id: `${title}Pointer` });
  return {
    [`GET /${plural}`]: {
      operation: `list${title}${plural === 'prefixes' ? 'es' : 's'}`,
      summary: `List the ${plural} that one can use`,
      needs,
      query: pageSchema,
      answer: pageAnswer(nameList, row, name, 'A page of them, in the order of their names.'),
    },
    [`PUT /${plural}/:name`]: {
      operation: `put${title}`,
      summary: 'Store a version, or point the name at one',
      description: 'What an admin stores is the deployment’s, for every account.',
      needs: 'prefixes',
      body: {
        schema: z.withMeta(z.union([fields, pointer]), { id: `${title}Request` }),
        example: put.example,
      },
      answer: put.answer,
      errors: put.errors,
    },
    [`GET /${plural}/:name`]: {
      operation: `get${title}`,
      summary: 'Read a version',
      needs,
      answer: jsonAnswer('All that it is made of.', content.schema, content.example),
      errors: [503],
    },
    [`GET /${plural}/:name/versions`]: {
      operation: `list${title}Versions`,
      summary: 'Page through its versions, newest first',
      needs,
      query: pageSchema,
      answer: pageAnswer(versionList, versionExample, version),
    },
    [`DELETE /${plural}/:name`]: {
      operation: `delete${title}`,
      ...remove,
      needs: 'prefixes',
      answer: jsonAnswer('It is gone.', deleted, { type: `${kind}_deleted`, name }),
      errors: [503],
    },
  };
}
