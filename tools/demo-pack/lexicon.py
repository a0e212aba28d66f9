"""The words of the demo pack's controlled language: English with its German, Italian and Chinese.

One word on each line; fields are separated by `|`; an empty field means "by rule" (grammar.py has
the rules). It is plain data, so a reader who knows one of the languages can check it without
reading code.
"""

# Noun classes, by which verbs and adjectives select their nouns: P person, G group that acts, A
# device or software, I information, Q problem or task, M measurable property, L place, E event.
# Fields:
# - en | en plural | de | gender | de plural
# - it | gender | it plural
# - zh | classifier | class | flags
#
# flags: w = German weak noun (adds -en/-n outside the nominative), p = plural only
NOUNS = """
student||Student|m|Studenten|studente|m|studenti|学生|名|P|w
teacher||Lehrer|m|Lehrer|insegnante|m|insegnanti|老师|位|P|
engineer||Ingenieur|m|Ingenieure|ingegnere|m|ingegneri|工程师|位|P|
researcher||Forscher|m|Forscher|ricercatore|m|ricercatori|研究员|位|P|
doctor||Arzt|m|Ärzte|medico|m|medici|医生|位|P|
child|children|Kind|n|Kinder|bambino|m|bambini|孩子|个|P|
visitor||Besucher|m|Besucher|visitatore|m|visitatori|游客|位|P|
colleague||Kollege|m|Kollegen|collega|m|colleghi|同事|位|P|w
expert||Experte|m|Experten|esperto|m|esperti|专家|位|P|w
friend||Freund|m|Freunde|amico|m|amici|朋友|位|P|
customer||Kunde|m|Kunden|cliente|m|clienti|客户|位|P|w
team||Team|n|Teams|team|m|team|团队|个|G|
company|companies|Firma|f|Firmen|azienda|f|aziende|公司|家|G|
group||Gruppe|f|Gruppen|gruppo|m|gruppi|小组|个|G|
government||Regierung|f|Regierungen|governo|m|governi|政府|个|G|
school||Schule|f|Schulen|scuola|f|scuole|学校|所|GL|
university|universities|Universität|f|Universitäten|università|f|università|大学|所|GL|
system||System|n|Systeme|sistema|m|sistemi|系统|个|A|
model||Modell|n|Modelle|modello|m|modelli|模型|个|A|
program||Programm|n|Programme|programma|m|programmi|程序|个|A|
machine||Maschine|f|Maschinen|macchina|f|macchine|机器|台|A|
robot||Roboter|m|Roboter|robot|m|robot|机器人|个|A|
computer||Computer|m|Computer|computer|m|computer|电脑|台|A|
phone||Telefon|n|Telefone|telefono|m|telefoni|手机|部|A|
camera||Kamera|f|Kameras|telecamera|f|telecamere|摄像头|个|A|
microphone||Mikrofon|n|Mikrofone|microfono|m|microfoni|麦克风|个|A|
battery|batteries|Batterie|f|Batterien|batteria|f|batterie|电池|块|A|
sensor||Sensor|m|Sensoren|sensore|m|sensori|传感器|个|A|
network||Netzwerk|n|Netzwerke|rete|f|reti|网络|个|A|
tool||Werkzeug|n|Werkzeuge|strumento|m|strumenti|工具|个|A|
train||Zug|m|Züge|treno|m|treni|火车|列|AV|
car||Auto|n|Autos|auto|f|auto|汽车|辆|AV|
bus|buses|Bus|m|Busse|autobus|m|autobus|公交车|辆|AV|
website||Webseite|f|Webseiten|sito|m|siti|网站|个|A|
data||Daten|f|Daten|dati|m|dati|数据|组|I|p
result||Ergebnis|n|Ergebnisse|risultato|m|risultati|结果|个|I|
text||Text|m|Texte|testo|m|testi|文本|篇|I|
word||Wort|n|Wörter|parola|f|parole|单词|个|I|
sentence||Satz|m|Sätze|frase|f|frasi|句子|个|I|
language||Sprache|f|Sprachen|lingua|f|lingue|语言|种|I|
answer||Antwort|f|Antworten|risposta|f|risposte|答案|个|I|
idea||Idee|f|Ideen|idea|f|idee|想法|个|I|
method||Methode|f|Methoden|metodo|m|metodi|方法|种|I|
plan||Plan|m|Pläne|piano|m|piani|计划|个|I|
book||Buch|n|Bücher|libro|m|libri|书|本|I|
picture||Bild|n|Bilder|immagine|f|immagini|图片|张|I|
video||Video|n|Videos|video|m|video|视频|个|I|
report||Bericht|m|Berichte|rapporto|m|rapporti|报告|份|I|
example||Beispiel|n|Beispiele|esempio|m|esempi|例子|个|I|
experiment||Experiment|n|Experimente|esperimento|m|esperimenti|实验|个|I|
project||Projekt|n|Projekte|progetto|m|progetti|项目|个|I|
translation||Übersetzung|f|Übersetzungen|traduzione|f|traduzioni|译文|篇|I|
message||Nachricht|f|Nachrichten|messaggio|m|messaggi|消息|条|I|
rule||Regel|f|Regeln|regola|f|regole|规则|条|I|
map||Karte|f|Karten|mappa|f|mappe|地图|张|I|
problem||Problem|n|Probleme|problema|m|problemi|问题|个|Q|
question||Frage|f|Fragen|domanda|f|domande|疑问|个|Q|
mistake||Fehler|m|Fehler|errore|m|errori|错误|个|Q|
risk||Risiko|n|Risiken|rischio|m|rischi|风险|个|Q|
task||Aufgabe|f|Aufgaben|compito|m|compiti|任务|项|Q|
speed||Geschwindigkeit|f|Geschwindigkeiten|velocità|f|velocità|速度|种|M|
price||Preis|m|Preise|prezzo|m|prezzi|价格|个|M|
quality|qualities|Qualität|f|Qualitäten|qualità|f|qualità|质量|种|M|
size||Größe|f|Größen|dimensione|f|dimensioni|大小|种|M|
room||Raum|m|Räume|sala|f|sale|房间|个|L|
station||Bahnhof|m|Bahnhöfe|stazione|f|stazioni|车站|个|L|
airport||Flughafen|m|Flughäfen|aeroporto|m|aeroporti|机场|个|L|
hotel||Hotel|n|Hotels|hotel|m|hotel|酒店|家|L|
park||Park|m|Parks|parco|m|parchi|公园|个|L|
library|libraries|Bibliothek|f|Bibliotheken|biblioteca|f|biblioteche|图书馆|座|L|
office||Büro|n|Büros|ufficio|m|uffici|办公室|间|L|
hospital||Krankenhaus|n|Krankenhäuser|ospedale|m|ospedali|医院|家|L|
museum||Museum|n|Museen|museo|m|musei|博物馆|座|L|
city|cities|Stadt|f|Städte|città|f|città|城市|座|L|
village||Dorf|n|Dörfer|villaggio|m|villaggi|村庄|个|L|
house||Haus|n|Häuser|casa|f|case|房子|座|L|
factory|factories|Fabrik|f|Fabriken|fabbrica|f|fabbriche|工厂|家|L|
laboratory|laboratories|Labor|n|Labore|laboratorio|m|laboratori|实验室|个|L|
conference||Konferenz|f|Konferenzen|conferenza|f|conferenze|大会|场|E|
meeting||Besprechung|f|Besprechungen|riunione|f|riunioni|会议|场|E|
talk||Vortrag|m|Vorträge|presentazione|f|presentazioni|演讲|场|E|
course||Kurs|m|Kurse|corso|m|corsi|课程|门|E|
"""

# Fields:
# - en
# - de | de comparative stem
# - it | p = before the noun in Italian
# - zh attributive | zh predicate (empty: attributive only)
# - classes | en comparative (empty: none; * = more)
ADJECTIVES = """
new|neu||nuovo|p|新||AIQLEG|
old|alt|älter|vecchio|p|旧|旧|AILG|older
big|groß|größer|grande|p|大|大|AGLQE|bigger
small|klein|kleiner|piccolo|p|小|小|AGLQIE|smaller
fast|schnell|schneller|veloce||快速的|快|A|faster
slow|langsam|langsamer|lento||缓慢的|慢|A|slower
good|gut|besser|buono|p|好的|好|IAEM|better
important|wichtig|wichtiger|importante||重要的|重要|IQEM|*
simple|einfach|einfacher|semplice||简单的|简单|IQA|simpler
difficult|schwierig|schwieriger|difficile||困难的|困难|IQ|*
strong|stark|stärker|forte||强大的|强大|GA|stronger
useful|nützlich|nützlicher|utile||有用的|有用|IA|*
interesting|interessant|interessanter|interessante||有趣的|有趣|IELQ|*
modern|modern|moderner|moderno||现代的|现代|ALG|*
cheap|billig|billiger|economico||便宜的|便宜|A|cheaper
famous|berühmt|berühmter|famoso||著名的|著名|PL|*
young|jung|jünger|giovane||年轻的|年轻|P|younger
digital|digital||digitale||数字的||AI|
public|öffentlich||pubblico||公共的||LE|
local|lokal||locale||当地的||GP|
international|international||internazionale||国际的||GEP|
safe|sicher|sicherer|sicuro||安全的|安全|AL|safer
clear|klar|klarer|chiaro||清晰的|清晰|I|clearer
long|lang|länger|lungo||长的|长|IE|longer
short|kurz|kürzer|breve||短的|短|IE|shorter
wrong|falsch||sbagliato||错误的|错误|I|
correct|richtig||corretto||正确的|正确|I|
reliable|zuverlässig|zuverlässiger|affidabile||可靠的|可靠|AI|*
automatic|automatisch||automatico||自动的||A|
medical|medizinisch||medico||医疗的||I|
electric|elektrisch||elettrico||电动的||V|
practical|praktisch|praktischer|pratico||实用的|实用|IA|*
popular|beliebt|beliebter|popolare||受欢迎的|受欢迎|LPA|*
quiet|ruhig|ruhiger|tranquillo||安静的|安静|LP|*
serious|ernst|ernster|grave||严重的|严重|Q|*
dangerous|gefährlich|gefährlicher|pericoloso||危险的|危险|AQ|*
free|kostenlos||gratuito||免费的||AE|
careful|vorsichtig|vorsichtiger|prudente||谨慎的|谨慎|PG|*
high|hoch|höher|alto||高的|高|H|higher
low|niedrig|niedriger|basso||低的|低|H|lower
"""

# Verbs. Fields, in groups separated by `;`:
# - en: base | 3sg | past | participle | -ing
# - de: infinitive (`+` after a separable prefix) | 3sg if irregular | participle | s = perfect with
#   sein
# - it: infinitive (`*` = -isc-) | participle if irregular
# - zh | subject classes | object classes | frame
#
# An English particle follows a space in the base ("turn on"). Frames: a = German accusative; d =
# German dative; "an+d/a/研究" style prepositions: German preposition + case / Italian preposition.
VERBS = """
test||tested|tested|testing;testen||getestet|;testare|;测试|PG|A
build||built|built|building;bauen||gebaut|;costruire*|;建造|PG|AL
use||used|used|using;verwenden|verwendet|verwendet|;usare|;使用|PG|AI
develop||developed|developed|developing;entwickeln||entwickelt|;sviluppare|;开发|PG|A
improve||improved|improved|improving;verbessern||verbessert|;migliorare|;改进|PG|AIM
analyze||analyzed|analyzed|analyzing;analysieren||analysiert|;analizzare|;分析|PG|IQ
check||checked|checked|checking;überprüfen||überprüft|;controllare|;检查|PG|AI
read||read|read|reading;lesen|liest|gelesen|;leggere|letto;阅读|P|T
write|writes|wrote|written|writing;schreiben||geschrieben|;scrivere|scritto;撰写|P|T
find||found|found|finding;finden||gefunden|;trovare|;找到|PG|IQ
see||saw|seen|seeing;sehen|sieht|gesehen|;vedere|visto;看到|P|AILPQ
explain||explained|explained|explaining;erklären||erklärt|;spiegare|;解释|P|IQ
describe||described|described|describing;beschreiben||beschrieben|;descrivere|descritto;描述|PT|AIQ
present||presented|presented|presenting;vor+stellen||vorgestellt|;presentare|;介绍|PG|AI
turn on||turned on|turned on|turning on;ein+schalten||eingeschaltet|;accendere|acceso;打开|P|D
turn off||turned off|turned off|turning off;aus+schalten||ausgeschaltet|;spegnere|spento;关闭|P|D
open||opened|opened|opening;öffnen||geöffnet|;aprire|aperto;开放|PG|L
close||closed|closed|closing;schließen||geschlossen|;chiudere|chiuso;关停|PG|L
receive||received|received|receiving;erhalten|erhält|erhalten|;ricevere|;收到|PG|T
buy||bought|bought|buying;kaufen||gekauft|;comprare|;购买|PG|A
sell||sold|sold|selling;verkaufen||verkauft|;vendere|;出售|PG|A
visit||visited|visited|visiting;besuchen||besucht|;visitare|;参观|P|L
lose||lost|lost|losing;verlieren||verloren|;perdere|perso;丢失|PG|TD
change||changed|changed|changing;ändern||geändert|;cambiare|;改变|PG|IM
solve||solved|solved|solving;lösen||gelöst|;risolvere|risolto;解决|PG|Q
discuss|discusses|discussed|discussed|discussing;besprechen|bespricht|besprochen|;discutere|discusso;讨论|PG|IQ
train||trained|trained|training;trainieren||trainiert|;addestrare|;训练|PG|N
measure||measured|measured|measuring;messen|misst|gemessen|;misurare|;测量|PG|M
reduce||reduced|reduced|reducing;verringern||verringert|;ridurre|ridotto;降低|PGA|MR
increase||increased|increased|increasing;erhöhen||erhöht|;aumentare|;提高|PGA|M
record||recorded|recorded|recording;auf+nehmen|nimmt|aufgenommen|;registrare|;录制|PG|RE
choose||chose|chosen|choosing;aus+wählen||ausgewählt|;scegliere|scelto;选择|PG|IAL
publish|publishes|published|published|publishing;veröffentlichen||veröffentlicht|;pubblicare|;发表|PG|T
translate||translated|translated|translating;übersetzen||übersetzt|;tradurre|tradotto;翻译|PA|T
repair||repaired|repaired|repairing;reparieren||repariert|;riparare|;修理|PG|D
prepare||prepared|prepared|preparing;vor+bereiten||vorbereitet|;preparare|;准备|PG|EI
invite||invited|invited|inviting;ein+laden|lädt|eingeladen|;invitare|;邀请|PG|P
meet||met|met|meeting;treffen|trifft|getroffen|;incontrare|;会见|P|P
help||helped|helped|helping;helfen|hilft|geholfen|;aiutare|;帮助|PGA|P|d
support||supported|supported|supporting;unterstützen||unterstützt|;sostenere|;支持|PG|PGI
look for|looks for|looked for|looked for|looking for;suchen||gesucht|;cercare|;寻找|PG|IPL
wait for|waits for|waited for|waited for|waiting for;warten||gewartet|;aspettare|;等待|PG|PVI|auf+a
talk about|talks about|talked about|talked about|talking about;sprechen|spricht|gesprochen|;parlare|;谈论|PG|IQAM|über+a/di
think about|thinks about|thought about|thought about|thinking about;nach+denken||nachgedacht|;riflettere|;思考|P|IQ|über+a/su
work on|works on|worked on|worked on|working on;arbeiten||gearbeitet|;lavorare|;研究|PG|IAQ|an+d/a
take part in|takes part in|took part in|taken part in|taking part in;teil+nehmen|nimmt|teilgenommen|;partecipare|;参加|PG|E|an+d/a
listen to|listens to|listened to|listened to|listening to;zu+hören||zugehört|;ascoltare|;聆听|P|EP|d
"""

# Ditransitives, used with a pronoun for the receiver. Chinese: 给 + receiver + verb.
GIVE = """
show||showed|shown|showing;zeigen||gezeigt|;mostrare|;展示|PG|IAQ
send||sent|sent|sending;schicken||geschickt|;inviare|;发送|PG|T
give||gave|given|giving;geben|gibt|gegeben|;dare|dato;提供|PG|ID
"""

# Verbs with a that-clause (Italian indicative only).
THAT = """
know||knew|known|knowing;wissen|weiß|gewusst|;sapere|;知道|P|
say||said|said|saying;sagen||gesagt|;dire|detto;说|PG|
see||saw|seen|seeing;sehen|sieht|gesehen|;vedere|visto;看到|P|
show||showed|shown|showing;zeigen||gezeigt|;dimostrare|;表明|TGI|
explain||explained|explained|explaining;erklären||erklärt|;spiegare|;解释说|P|
find out|finds out|found out|found out|finding out;heraus+finden|findet|herausgefunden|;scoprire|scoperto;发现|PG|
report||reported|reported|reporting;berichten||berichtet|;riferire*|;报告说|PG|
"""

# Verbs with an infinitive; last field: Italian preposition. `ing` = English gerund.
TOINF = """
try|tries|tried|tried|trying;versuchen||versucht|;cercare|;尝试|PG|di
start||started|started|starting;an+fangen|fängt|angefangen|;cominciare|;开始|PG|a
plan|plans|planned|planned|planning;planen||geplant|;progettare|;打算|PG|di
decide||decided|decided|deciding;beschließen||beschlossen|;decidere|deciso;决定|PG|di
hope||hoped|hoped|hoping;hoffen||gehofft|;sperare|;希望|PG|di
promise||promised|promised|promising;versprechen|verspricht|versprochen|;promettere|promesso;承诺|PG|di
learn||learned|learned|learning;lernen||gelernt|;imparare|;学习|P|a
stop||stopped|stopped|stopping;auf+hören||aufgehört|;smettere|smesso;停止|PG|di|ing
"""

# Italian irregular presents: io, lui, noi, voi, loro; future stem if irregular.
IT_PRESENT = {
    "scegliere": "scelgo sceglie scegliamo scegliete scelgono", "spegnere": "spengo spegne spegniamo spegnete spengono",
    "ridurre": "riduco riduce riduciamo riducete riducono", "tradurre": "traduco traduce traduciamo traducete traducono",
    "dare": "do dà diamo date danno", "dire": "dico dice diciamo dite dicono", "sapere": "so sa sappiamo sapete sanno",
    "sostenere": "sostengo sostiene sosteniamo sostenete sostengono", "andare": "vado va andiamo andate vanno",
    "essere": "sono è siamo siete sono", "avere": "ho ha abbiamo avete hanno", "potere": "posso può possiamo potete possono",
    "dovere": "devo deve dobbiamo dovete devono", "volere": "voglio vuole vogliamo volete vogliono",
}
IT_FUTURE = {
    "ridurre": "ridurr", "tradurre": "tradurr", "dare": "dar", "dire": "dir", "sapere": "sapr", "sostenere": "sosterr",
    "vedere": "vedr", "andare": "andr", "essere": "sar", "avere": "avr",
}

# en | de | it | zh | gender
PEOPLE = """
Anna|Anna|Anna|安娜|f
David|David|David|大卫|m
Maria|Maria|Maria|玛丽亚|f
Peter|Peter|Peter|彼得|m
Laura|Laura|Laura|劳拉|f
Thomas|Thomas|Thomas|托马斯|m
Julia|Julia|Julia|朱莉娅|f
Martin|Martin|Martin|马丁|m
"""
# en | de | it | zh | c = city, n = country
PLACES = """
Berlin|Berlin|Berlino|柏林|c
Rome|Rom|Roma|罗马|c
Paris|Paris|Parigi|巴黎|c
London|London|Londra|伦敦|c
Vienna|Wien|Vienna|维也纳|c
Milan|Mailand|Milano|米兰|c
Beijing|Peking|Pechino|北京|c
Hamburg|Hamburg|Amburgo|汉堡|c
Germany|Deutschland|Germania|德国|n
Italy|Italien|Italia|意大利|n
China|China|Cina|中国|n
"""
# Place nouns: German preposition + dative, Italian preposition, English preposition. Chinese: 在 …
# (里).
LOC = {
    "room": ("in", "in", "in"), "station": ("an", "a", "at"), "airport": ("an", "a", "at"), "hotel": ("in", "in", "at"),
    "park": ("in", "in", "in"), "library": ("in", "in", "in"), "office": ("in", "in", "in"), "hospital": ("in", "in", "in"),
    "museum": ("in", "in", "in"), "city": ("in", "in", "in"), "village": ("in", "in", "in"), "house": ("in", "in", "in"),
    "factory": ("in", "in", "in"), "laboratory": ("in", "in", "in"), "school": ("in", "a", "at"), "university": ("an", "a", "at"),
    "conference": ("auf", "a", "at"), "meeting": ("in", "a", "at"),
}

# Time: en | de | it | zh | tense (f future, p past, n present)
TIMES = """
today|heute|oggi|今天|fpn
tomorrow|morgen|domani|明天|f
yesterday|gestern|ieri|昨天|p
now|jetzt|ora|现在|n
last year|letztes Jahr|l'anno scorso|去年|p
last week|letzte Woche|la settimana scorsa|上周|p
last month|letzten Monat|il mese scorso|上个月|p
next year|nächstes Jahr|l'anno prossimo|明年|f
next week|nächste Woche|la settimana prossima|下周|f
next month|nächsten Monat|il mese prossimo|下个月|f
this year|dieses Jahr|quest'anno|今年|fn
this week|diese Woche|questa settimana|本周|fn
this morning|heute Morgen|stamattina|今天早上|p
every day|jeden Tag|ogni giorno|每天|n
every week|jede Woche|ogni settimana|每周|n
every year|jedes Jahr|ogni anno|每年|n
in the evening|am Abend|la sera|晚上|fn
in the morning|am Morgen|la mattina|早上|fn
on Monday|am Montag|lunedì|星期一|fp
on Tuesday|am Dienstag|martedì|星期二|fp
on Wednesday|am Mittwoch|mercoledì|星期三|fp
on Thursday|am Donnerstag|giovedì|星期四|fp
on Friday|am Freitag|venerdì|星期五|fp
on Sunday|am Sonntag|domenica|星期天|fp
at the moment|im Moment|al momento|目前|n
"""
# For "three weeks ago", "in two hours": en | de dative plural | it plural | zh unit
SPANS = """
days|Tagen|giorni|天
weeks|Wochen|settimane|周
months|Monaten|mesi|个月
years|Jahren|anni|年
hours|Stunden|ore|小时
minutes|Minuten|minuti|分钟
"""
# Adverbs next to the verb: en | de | it | zh
MIDADV = """
also|auch|anche|也
already|schon|già|已经
still|noch|ancora|仍然
often|oft|spesso|经常
always|immer|sempre|总是
usually|normalerweise|di solito|通常
sometimes|manchmal|a volte|有时
"""
# Manner, after the object: en | de | it | zh
MANNER = """
quickly|schnell|rapidamente|迅速
carefully|sorgfältig|con cura|仔细地
together|gemeinsam|insieme|一起
again|noch einmal|di nuovo|再次
"""
# Openers: en | de | it | zh | , = comma (English, Italian, Chinese; German keeps verb second)
OPENERS = """
first|zuerst|per prima cosa|首先|,
finally|schließlich|infine|最后|,
for example|zum Beispiel|per esempio|例如|,
of course|natürlich|naturalmente|当然|,
in fact|tatsächlich|in effetti|事实上|,
however|jedoch|tuttavia|然而|,
unfortunately|leider|purtroppo|遗憾的是|,
therefore|deshalb|perciò|因此|,
fortunately|zum Glück|per fortuna|幸运的是|,
"""
# Pronouns: en subject, en object, de nom, dat, it clitic (receiver), zh, person, number
PRONOUNS = """
I|me|ich|mir|mi|我|1s
we|us|wir|uns|ci|我们|1p
you|you|Sie|Ihnen|vi|你们|2p
they|them|sie|ihnen|gli|他们|3p
he|him|er|ihm|gli|他|3s
she|her|sie|ihr|le|她|3s
"""
# Possessives: en | de stem | it (m s, f s, m p, f p) | zh
POSS = """
my|mein|mio mia miei mie|我的
our|unser|nostro nostra nostri nostre|我们的
your|Ihr|vostro vostra vostri vostre|你们的
their|ihr|loro loro loro loro|他们的
"""
# Whole sentences for the beginning and end of a talk. Slots: {P} person, {C} city. `_` joins words
# of one unit. The numbers after the slash give the alignment (English word numbers from 0, comma
# separated).
FIXED = """
good morning and welcome to {C} .|Guten/0 Morgen/1 und/2 willkommen/3 in/4 {C}/5 .|Buongiorno/0,1 e/2 benvenuti/3 a/4 {C}/5 .|早上/1 好/0 ，/2 欢迎/3 来到/4 {C}/5 。
my name is {P} and I work in {C} .|Mein/0 Name/1 ist/2 {P}/3 und/4 ich/5 arbeite/6 in/7 {C}/8 .|Mi/1 chiamo/1 {P}/3 e/4 lavoro/5,6 a/7 {C}/8 .|我/0 叫/1,2 {P}/3 ，/4 我/5 在/7 {C}/8 工作/6 。
thank you very much for your attention .|Vielen/2,3 Dank/0 für/4 Ihre/5,6 Aufmerksamkeit/6 .|Grazie/0 mille/2,3 per/4 la/5,6 vostra/5,6 attenzione/6 .|非常/2,3 感谢/0 大家/5 的/5,6 关注/6 。
thank you , {P} , for the kind introduction .|Vielen/0 Dank/0 ,/2 {P}/2 ,/3 für/3 die/4,6 freundliche/5,6 Einführung/6 .|Grazie/0 ,/2 {P}/2 ,/3 per/3 la/4,6 gentile/5,6 introduzione/6 .|谢谢/0 你/1 ，/2 {P}/2 ，/3 谢谢/3 你/4 的/4 友好/5 介绍/6 。
I come from {C} and I am a student .|Ich/0 komme/1 aus/2 {C}/3 und/4 ich/5 bin/6 Student/8 .|Vengo/0,1 da/2 {C}/3 e/4 sono/5,6 uno/7,8 studente/8 .|我/0 来自/1,2 {C}/3 ，/4 我/5 是/6 一名/7 学生/8 。
now I am happy to take your questions .|Jetzt/0 beantworte/3,4,5 ich/1 gerne/3 Ihre/6,7 Fragen/7 .|Ora/0 rispondo/1,5 volentieri/3 alle/6,7 vostre/6,7 domande/7 .|现在/0 我/1 很/3 乐意/3 回答/5 你们/6 的/6 问题/7 。
"""

# Verbs without an object. Last field: d = the place is a destination (Chinese: after the verb), p =
# place, - = none.
INTRANS = """
arrive||arrived|arrived|arriving;an+kommen||angekommen|s;arrivare||;到达|PV|d
work||worked|worked|working;arbeiten||gearbeitet|;lavorare|;工作|PG|p
live||lived|lived|living;leben||gelebt|;vivere|vissuto;生活|P|p
begin||began|begun|beginning;beginnen||begonnen|;cominciare||;开始|E|-
wait||waited|waited|waiting;warten||gewartet|;aspettare|;等待|PV|p
"""
# Verbs whose perfect takes essere in Italian when used without an object.
IT_ESSERE = {"arrivare", "cominciare"}
