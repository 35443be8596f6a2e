import type { Row } from './row.ts';
import { ACCOUNT_ROWS } from './rows-of-accounts.ts';
import { CONVERSATION_ROWS } from './rows-of-conversations.ts';
import { REQUEST_ROWS } from './rows-of-requests.ts';
import { STORED_ROWS } from './rows-of-stored.ts';

/** What can be repeated where. */
export const ROWS: readonly Row[] = [...REQUEST_ROWS, ...CONVERSATION_ROWS, ...STORED_ROWS, ...ACCOUNT_ROWS];
