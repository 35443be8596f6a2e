import { contextOf } from '../../auth/context.ts';
import { route } from '../../auth/route.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { finalError, invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { readJson } from '../../money/admission/read-body.ts';
import type { RestoreOutcome } from '../../money/contracts/account.ts';
import { accountOf } from '../../money/contracts/call-account.ts';
import { listNamedAccount } from '../../money/lists/list-account.ts';
import { accountBackup, restoreQuery } from './account-backup.schema.ts';

/** Why a backup is not restored. */
const CONFLICTS: Partial<Record<RestoreOutcome, string>> = {
  used: 'This account has been used here: it has spent something, or has limits, credit or a group. To merge the backup into it, an admin sends it with ?mode=merge (npm run restore -- --account … --replace).',
  held: 'A request of this account is running. Send the backup again when it has ended.',
  erased: 'This account was erased here after the backup was made. What the backup contains of it stays erased.',
};

/** The routes by which an admin moves accounts to another deployment. */
export const ACCOUNT_BACKUP_ROUTES = [
  route('GET /accounts/:id/backup', { needs: 'admin' }, async (c) => {
    const id = c.req.param('id');
    const text = await accountOf(c, id)((object) => object.backupJson(id));
    return c.body(text, 200, { 'content-type': 'application/json' });
  }),
  route(
    'PUT /accounts/:id/backup',
    { needs: 'admin', body: accountBackup, query: restoreQuery },
    async (c, { body, query }) => {
      const id = c.req.param('id');
      const { mode } = validate(query, c.req.query());
      const { json, bytes } = await readJson(c);
      const backup = validate(body, json);
      if (backup.id !== id) throw invalidRequest(`id: this is a backup of ${backup.id}. Send it to its own account.`);
      const today = Math.floor(Date.now() / DAY_MS);
      const future = backup.days.findIndex(({ day }) => day > today);
      if (future >= 0) throw invalidRequest(`days.${future}.day: lies in the future`);
      const digest = await sha256Hex(bytes);
      const text = JSON.stringify(backup);
      const outcome = await accountOf(c, id)((object) => object.restoreJson(text, digest, mode === 'merge'));
      const conflict = CONFLICTS[outcome];
      if (conflict !== undefined) throw finalError('conflict_error', conflict);
      listNamedAccount(contextOf(c), id);
      return c.json({ type: 'account', id, restored: true });
    },
  ),
];
