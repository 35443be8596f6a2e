import type { AccountState } from '../../money/account/account-state.ts';
import type { AccountPlugin } from '../../money/account/hooks.ts';
import type { UploadDecision, UploadRequest } from '../../money/contracts/ownership.ts';
import type { Plugin } from '../plugin.ts';
import { FILE_ROUTES } from './files.route.ts';

/** What files have in an account: uploads begin there, and it lists them. */
const filesPart: AccountPlugin = {
  methods: {
    beginUpload,
    files: (state, page) => state.ownership.listFiles(page, state.advanceBudgetToNow()),
    describeFile: ({ ownership }, file) => ownership.storeFileDescription(file),
  },
};

/** Reserves bytes before a file is uploaded: the announced length, or else the maximum. */
function beginUpload(state: AccountState, upload: UploadRequest): UploadDecision {
  const now = state.advanceBudgetToNow();
  const { storage, limits, ownership, alarm } = state;
  const begun = ownership.findUpload(upload.id);
  if (begun) return { outcome: 'admitted', left: begun.bytes, at: begun.at };
  const { left, most } = storage.computeBytesLeftForFile(limits.effectiveLimits, now);
  const { bytes = Math.min(left, upload.most) } = upload;
  if (bytes > left || left === 0) return { outcome: 'full', limit: 'stored_bytes', most };
  alarm.scheduleAt(ownership.reserveUpload(upload, bytes, now));
  return { outcome: 'admitted', left: Math.min(bytes, upload.most), at: now };
}

/** Files of accounts. */
export const files: Plugin = { name: 'files', routes: FILE_ROUTES, account: filesPart };
