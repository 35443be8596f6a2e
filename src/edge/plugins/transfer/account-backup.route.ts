import { getRequestContext } from '../../auth/context.ts';
import { defineRoute } from '../../auth/route.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { createInvalidRequestError, createNonRetryableError } from '../../kit/http/errors.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { readJsonBody } from '../../money/admission/read-body.ts';
import { createChangeOrigin, logChange } from '../../money/changes/change-origin.ts';
import type { RestoreOutcome } from '../../money/contracts/account.ts';
import { createAccountCaller } from '../../money/contracts/call-account.ts';
import { addNamedAccountToList } from '../../money/lists/list-account.ts';
import { accountBackup, restoreQuery } from './account-backup.schema.ts';

/** Why a backup is not restored. */
const CONFLICTS: Partial<Record<RestoreOutcome, string>> = {
  used: 'This account is already in use: it has usage, limits, credit or a group. To merge the backup into it, an admin can send the backup with ?mode=merge (npm run restore -- --account … --replace).',
  held: 'A request of this account is running. Send the backup again when the request has ended.',
  erased: 'This account was erased after the backup was made, and cannot be restored. Skip it.',
};

/** The routes by which an admin moves accounts to another deployment. */
export const ACCOUNT_BACKUP_ROUTES = [
  defineRoute('GET /accounts/:id/backup', { needs: 'admin:backup' }, async (c) => {
    const id = c.req.param('id');
    const text = await createAccountCaller(c, id)((object) => object.backupJson(id));
    return c.body(text, 200, { 'content-type': 'application/json' });
  }),
  defineRoute(
    'PUT /accounts/:id/backup',
    { needs: 'admin', body: accountBackup, query: restoreQuery },
    async (c, { body, query }) => {
      const id = c.req.param('id');
      const { mode } = validateBySchema(query, c.req.query());
      const { json, bytes } = await readJsonBody(c);
      const backup = validateBySchema(body, json);
      if (backup.id !== id)
        throw createInvalidRequestError(`id: this is a backup of ${backup.id}. Send it to the path of this account.`);
      const today = Math.floor(Date.now() / DAY_MS);
      const future = backup.days.findIndex(({ day }) => day > today);
      if (future >= 0) throw createInvalidRequestError(`days.${future}.day: must not be in the future`);
      const digest = await sha256Hex(bytes);
      const text = JSON.stringify(backup);
      const outcome = await createAccountCaller(
        c,
        id,
      )((object) => object.restoreJson(text, digest, mode === 'merge', createChangeOrigin(c)));
      const conflict = CONFLICTS[outcome];
      if (conflict !== undefined) throw createNonRetryableError('conflict_error', conflict);
      logChange(c, { type: 'account', id }, ['backup']);
      addNamedAccountToList(getRequestContext(c), id);
      return c.json({ type: 'account', id, restored: true });
    },
  ),
];
