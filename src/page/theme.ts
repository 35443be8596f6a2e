import { effect, signal } from '@preact/signals';
import { applyTheme, readStoredTheme, THEME_KEY, THEMES, type Theme } from './stored-theme.ts';

export const currentTheme = signal<Theme>(readStoredTheme());

/** Switches to the next theme: light, dark, the system's. */
export function switchToNextTheme(): void {
  currentTheme.value = THEMES[(THEMES.indexOf(currentTheme.value) + 1) % THEMES.length] ?? 'system';
  localStorage.setItem(THEME_KEY, currentTheme.value);
}

/** Applies the theme, now and whenever it changes. */
export function applyThemeOnChange(): void {
  effect(() => applyTheme(currentTheme.value));
}
