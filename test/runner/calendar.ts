import { expect, inject } from 'vitest';
import { setClockForFile } from '#test/support/calendar.ts';
import { fileName } from '#test/support/seed.ts';

const { testPath = '' } = expect.getState();
// Wherever the file is.
setClockForFile(inject('calendar'), fileName(testPath));
