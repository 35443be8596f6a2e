/** Identifies the author of a change, for the list of changes and for the log. */

import type { Context } from 'hono';
import type { AppEnv } from '../../auth/context.ts';
import type { ChangeSubject } from './changes-answers.schema.ts';

/** The author of a change, and the request. */
export interface ChangeOrigin {
  account: string;
  /** The `jti` of the token; null if none was needed. */
  token: string | null;
  request_id: string;
}

/** @returns the caller of a request, who is an admin, as the origin of a change */
export function createChangeOrigin(c: Pick<Context<AppEnv>, 'get'>): ChangeOrigin {
  const { account, token } = c.get('identity');
  return { account, token: token?.jti ?? null, request_id: c.get('requestId') };
}

/** Adds to the log line what the request changes. @param fields the names of the changed fields, without their values */
export function logChange(c: Pick<Context<AppEnv>, 'get'>, subject: ChangeSubject, fields: readonly string[]): void {
  const { line } = c.get('entry');
  line.subject = subject;
  line.changed = [...fields];
}
