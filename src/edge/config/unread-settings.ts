import { hasRoom } from '../kit/rooms/rooms.ts';

/** The room without which a setting of the core has no effect. */
const READ_BY: Readonly<Record<string, string>> = {
  MAX_BATCH_BYTES: 'batches',
  BATCH_DELIVER_URL: 'batches',
  MAX_FILE_BYTES: 'files',
  TOOL_HOSTS: 'runs',
  TOOL_SIGNING_SECRET: 'runs',
  VISITORS: 'visitors',
  TURNSTILE_SECRET: 'visitors',
  TURNSTILE_VERIFY_URL: 'visitors',
  DEPLOYMENT_LIMITS: 'pools',
};

/** @returns a sentence for each setting of a room that is not in use */
export function unreadSettings(vars: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(READ_BY)
    .filter(([name, room]) => (vars[name] ?? '') !== '' && !hasRoom(room))
    .map(([name, room]) => {
      return `${name} is set, and nothing reads it: this Worker is without the room ${room}. Put it into the list, or remove the setting.`;
    });
}
