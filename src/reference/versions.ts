/** What the lists of prefixes and of classifiers have in common. */
import { listSchema } from '../schemas/page.ts';
import { nameRow, versionRow } from '../schemas/versions.ts';
import type { Answer } from './route.ts';

const names = listSchema(nameRow.meta({ id: 'Name' })).meta({ id: 'NameList' });
const versions = listSchema(versionRow.meta({ id: 'Version' })).meta({ id: 'VersionList' });

interface Stored {
  /** `prefix` or `classifier`. */
  type: string;
  name: string;
  /** name@version */
  version: string;
  description: string;
  bytes: number;
}

const at = '2026-11-20T10:06:16.310Z';

/** @returns the answer of a route that lists names */
export function namesAnswer({ type, name, version, description, bytes }: Stored): Answer {
  const row = { type, name, version, owner: 'account', description, bytes, created_at: at, updated_at: at };
  return {
    description: 'A page of them, in the order of their names.',
    content: [{ schema: names, example: { data: [row], has_more: false, first_id: name, last_id: name } }],
  };
}

/** @returns the answer of a route that lists the versions of a name */
export function versionsAnswer({ type, version, description, bytes }: Stored): Answer {
  const row = { type: `${type}_version`, version, current: true, description, bytes, created_at: at };
  return {
    description: 'A page of them.',
    content: [{ schema: versions, example: { data: [row], has_more: false, first_id: version, last_id: version } }],
  };
}
