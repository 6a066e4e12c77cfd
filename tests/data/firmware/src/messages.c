/* What the instrument says, in the languages of its users (UTF-8). */
#include <string.h>

#include "app.h"

#ifdef SMALL
enum { LANGUAGES = 2 };
#else
enum { LANGUAGES = 5 };
#endif

static const char codes[][3] = {"en", "de", "fr", "es", "it"};
static unsigned language;

static const char *const texts[LANGUAGES][MESSAGES] = {
    {
        "Ready. Type `help` for the list of commands.",
        "Input overload: reduce the level or choose a larger range.",
        "No signal at the input. Check the cable and the source.",
        "The crystal does not oscillate; running on the internal clock, frequencies are off by up to 1 percent.",
        "Self-test passed.",
        "The calibration is older than one year. Have the instrument calibrated soon.",
        "The CAN controller is off the bus after too many errors. Check bit rate, wiring and termination.",
        "The supply voltage is too low for full output. The amplitude has been reduced.",
        "The output stage is too hot and has been switched off. Let the instrument cool down.",
        "Saved.",
        "The value could not be saved: the settings area is full. Use `erase settings` first.",
        "Unknown command. Type `help` for the list.",
        "Something is missing or too much. The form is:",
        "Sweep running. Press any key to stop.",
        "Stopped. The output is at rest.",
        "Not enough memory for that many samples.",
        "The clock has not been set; times are counted from switching on.",
        "Self-test FAILED. Do not trust any measurement and have the instrument repaired.",
    },
    {
        "Bereit. `help` zeigt die Liste der Befehle.",
        "Eingang übersteuert: Pegel verringern oder größeren Bereich wählen.",
        "Kein Signal am Eingang. Kabel und Quelle prüfen.",
        "Der Quarz schwingt nicht; der interne Takt läuft, Frequenzen weichen bis zu 1 Prozent ab.",
        "Selbsttest bestanden.",
        "Die Kalibrierung ist älter als ein Jahr. Das Gerät bald kalibrieren lassen.",
        "Der CAN-Baustein ist nach zu vielen Fehlern vom Bus. Bitrate, Verdrahtung und Abschluss prüfen.",
        "Die Versorgungsspannung reicht nicht für volle Ausgabe. Die Amplitude wurde verringert.",
        "Die Endstufe ist zu heiß und wurde abgeschaltet. Das Gerät abkühlen lassen.",
        "Gespeichert.",
        "Der Wert konnte nicht gespeichert werden: der Bereich ist voll. Zuerst `erase settings` verwenden.",
        "Unbekannter Befehl. `help` zeigt die Liste.",
        "Etwas fehlt oder ist zu viel. Die Form ist:",
        "Durchlauf aktiv. Beliebige Taste hält an.",
        "Angehalten. Der Ausgang ruht.",
        "Nicht genug Speicher für so viele Abtastwerte.",
        "Die Uhr ist nicht gestellt; die Zeit zählt ab dem Einschalten.",
        "Selbsttest NICHT bestanden. Keiner Messung trauen und das Gerät instand setzen lassen.",
    },
#ifndef SMALL
    {
        "Prêt. Tapez `help` pour la liste des commandes.",
        "Entrée saturée : réduisez le niveau ou choisissez une gamme plus grande.",
        "Aucun signal à l'entrée. Vérifiez le câble et la source.",
        "Le quartz n'oscille pas ; l'horloge interne est utilisée, fréquences exactes à 1 pour cent près.",
        "Autotest réussi.",
        "L'étalonnage date de plus d'un an. Faites étalonner l'appareil prochainement.",
        "Le contrôleur CAN a quitté le bus après trop d'erreurs. Vérifiez débit, câblage et terminaison.",
        "La tension d'alimentation est trop basse pour la pleine sortie. L'amplitude a été réduite.",
        "L'étage de sortie est trop chaud et a été coupé. Laissez refroidir l'appareil.",
        "Enregistré.",
        "La valeur n'a pas pu être enregistrée : la zone est pleine. Utilisez d'abord `erase settings`.",
        "Commande inconnue. Tapez `help` pour la liste.",
        "Il manque quelque chose, ou il y en a trop. La forme est :",
        "Balayage en cours. Une touche quelconque l'arrête.",
        "Arrêté. La sortie est au repos.",
        "Mémoire insuffisante pour autant d'échantillons.",
        "L'heure n'est pas réglée ; le temps compte depuis la mise en marche.",
        "ÉCHEC de l'autotest. Ne vous fiez à aucune mesure et faites réparer l'appareil.",
    },
    {
        "Listo. Escriba `help` para ver las órdenes.",
        "Entrada saturada: reduzca el nivel o elija un margen mayor.",
        "No hay señal en la entrada. Revise el cable y la fuente.",
        "El cristal no oscila; se usa el reloj interno y las frecuencias se desvían hasta un 1 por ciento.",
        "Autocomprobación superada.",
        "La calibración tiene más de un año. Haga calibrar pronto el instrumento.",
        "El controlador CAN salió del bus por exceso de errores. Revise velocidad, cableado y terminación.",
        "La tensión de alimentación no basta para la salida completa. Se ha reducido la amplitud.",
        "La etapa de salida está demasiado caliente y se ha apagado. Deje enfriar el instrumento.",
        "Guardado.",
        "No se pudo guardar el valor: la zona está llena. Use primero `erase settings`.",
        "Orden desconocida. Escriba `help` para ver la lista.",
        "Falta algo o sobra algo. La forma es:",
        "Barrido en marcha. Cualquier tecla lo detiene.",
        "Detenido. La salida está en reposo.",
        "No hay memoria para tantas muestras.",
        "El reloj no está en hora; el tiempo se cuenta desde el encendido.",
        "La autocomprobación ha FALLADO. No confíe en ninguna medida y haga reparar el instrumento.",
    },
    {
        "Pronto. Scrivere `help` per l'elenco dei comandi.",
        "Ingresso in sovraccarico: ridurre il livello o scegliere una portata maggiore.",
        "Nessun segnale all'ingresso. Controllare il cavo e la sorgente.",
        "Il quarzo non oscilla; si usa l'orologio interno, le frequenze possono scostarsi dell'1 per cento.",
        "Autodiagnosi superata.",
        "La taratura ha più di un anno. Far tarare presto lo strumento.",
        "Il controllore CAN è uscito dal bus per troppi errori. Controllare velocità, cavi e terminazione.",
        "La tensione di alimentazione è troppo bassa per l'uscita piena. L'ampiezza è stata ridotta.",
        "Lo stadio d'uscita è troppo caldo ed è stato spento. Lasciar raffreddare lo strumento.",
        "Salvato.",
        "Il valore non è stato salvato: l'area è piena. Usare prima `erase settings`.",
        "Comando sconosciuto. Scrivere `help` per l'elenco.",
        "Manca qualcosa o c'è qualcosa di troppo. La forma è:",
        "Scansione in corso. Un tasto qualsiasi la ferma.",
        "Fermato. L'uscita è a riposo.",
        "Memoria insufficiente per tanti campioni.",
        "L'orologio non è regolato; il tempo si conta dall'accensione.",
        "Autodiagnosi FALLITA. Non fidarsi di alcuna misura e far riparare lo strumento.",
    },
#endif
};

const char *message(enum message which) { return texts[language][which]; }

bool message_language(const char *code)
{
    for (unsigned i = 0; i < LANGUAGES; i++)
        if (!strcmp(codes[i], code)) {
            language = i;
            return true;
        }
    return false;
}
