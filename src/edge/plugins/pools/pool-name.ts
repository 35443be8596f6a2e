/** The names of pools' objects. */

import type { SharedBudgetKind } from '../../money/contracts/admission.ts';

/** The name of the deployment's pool. No group's pool can have this name. */
export const DEPLOYMENT_POOL = 'deployment';
const GROUP_POOL = 'group:';

export interface ParsedPoolName {
  kind: SharedBudgetKind;
  /** The group; absent for the deployment. */
  group?: string | undefined;
}

export function toGroupPoolName(group: string): string {
  return GROUP_POOL + group;
}

export function parsePoolName(name: string): ParsedPoolName {
  return name.startsWith(GROUP_POOL) ? { kind: 'group', group: name.slice(GROUP_POOL.length) } : { kind: 'deployment' };
}
