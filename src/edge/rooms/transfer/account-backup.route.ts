import { contextOf } from '../../gate/auth/context.ts';
import { route } from '../../gate/auth/route.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { sha256Hex } from '../../kit/http/bytes.ts';
import { finalError, invalidRequest } from '../../kit/http/errors.ts';
import { validate } from '../../kit/http/validate.ts';
import { readJson } from '../../money/admission/read-body.ts';
import { accountOf } from '../../money/contracts/call-account.ts';
import { listNamedAccount } from '../../money/lists/list-account.ts';
import { accountBackup } from './account-backup.schema.ts';

/** The routes by which an admin moves accounts to another deployment. */
export const ACCOUNT_BACKUP_ROUTES = [
  route('GET /accounts/:id/backup', { needs: 'admin' }, async (c) => {
    const id = c.req.param('id');
    const text = await accountOf(c, id)((object) => object.backupJson(id));
    return c.body(text, 200, { 'content-type': 'application/json' });
  }),
  route('PUT /accounts/:id/backup', { needs: 'admin', body: accountBackup }, async (c, { body }) => {
    const id = c.req.param('id');
    const { json, bytes } = await readJson(c);
    const backup = validate(body, json);
    if (backup.id !== id) throw invalidRequest(`id: this is a backup of ${backup.id}. Send it to its own account.`);
    const today = Math.floor(Date.now() / DAY_MS);
    const future = backup.days.findIndex(({ day }) => day > today);
    if (future >= 0) throw invalidRequest(`days.${future}.day: lies in the future`);
    const digest = await sha256Hex(bytes);
    const isRestored = await accountOf(c, id)((object) => object.restoreJson(JSON.stringify(backup), digest));
    if (!isRestored) {
      throw finalError(
        'conflict_error',
        'This account has been used here: only one that has spent nothing, and was given nothing, takes up a backup.',
      );
    }
    listNamedAccount(contextOf(c), id);
    return c.json({ type: 'account', id, restored: true });
  }),
];
