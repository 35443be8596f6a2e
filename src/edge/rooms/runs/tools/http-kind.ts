import type { CalledKind } from '../called-kind.ts';
import { postCall } from '../post-call.ts';
import { type HttpRun, runSchema, runTool } from '../runs.schema.ts';
import { atAddress, faultAtAddress } from './addresses.ts';

/** Tools at addresses that the operator has allowed. */
export const httpKind: CalledKind<HttpRun> = {
  member: 'url',
  names: () => Object.keys(runSchema.shape),
  asked: [runSchema],
  fault: (tool, sender) => faultAtAddress(tool, sender, runTool),
  callsOf: () => ({ call: atAddress(postCall) }),
};
