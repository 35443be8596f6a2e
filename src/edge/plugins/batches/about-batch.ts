/** The dimensions of a batch's ledger rows: a batch has one row for each model. */

import type { Dimension } from '../../money/contracts/dimensions.ts';
import type { BatchSettlementRow } from './contracts/batch.ts';

export const OF_BATCH: Dimension<string> = { name: 'batch' };
/** How its items have ended, once it has. */
export const OF_OUTCOMES: Dimension<NonNullable<BatchSettlementRow['outcomes']>> = { name: 'outcomes' };
